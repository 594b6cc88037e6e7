"""Who may do what: tokens and scopes."""
