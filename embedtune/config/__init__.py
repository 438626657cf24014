"""params.yaml: its schema, the rules between its keys, how it is read; and the paths of a project."""
