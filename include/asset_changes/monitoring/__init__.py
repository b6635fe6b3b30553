"""What must not be, looked for and reported."""
