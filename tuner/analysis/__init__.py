"""Tables for people, made from the tables of a study."""
