"""One module per DVC stage, of the same name: read parameters, call embedtune, write outputs."""
