"""Tables for people, made from what a study left behind."""
