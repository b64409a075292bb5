"""`mlcycle bench`: its options and the command."""
