"""What keeps a folder, a file or a message of others from doing harm."""
