"""The REST service over one published release."""
