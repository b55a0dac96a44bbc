"""What requests may hold and what answers hold: parsed on the way in, shaped on the way out."""
