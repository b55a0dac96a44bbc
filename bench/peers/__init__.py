"""What the product is compared with: each is what somebody would write or run instead."""
