"""The generated sample data set of long Chinese documents, in MLDR's layout."""
