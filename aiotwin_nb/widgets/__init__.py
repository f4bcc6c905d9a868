"""What people touch: figures and notebook panels."""
