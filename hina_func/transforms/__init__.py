"""The transforms, one file per family: the family word in a name is the file's name."""
