"""What a study leaves behind: its folder, its tables, and where they come from."""
