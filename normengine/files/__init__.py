"""Files: written whole or not at all, read without waiting, and trusted only where nobody else can have written."""
