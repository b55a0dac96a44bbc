"""What a trained model gives to people: its report, pictures, a card, and all of it in one archive. No torch."""
