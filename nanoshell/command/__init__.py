"""The glue that turns one click command into a prompt command, a subcommand and a palette entry."""
