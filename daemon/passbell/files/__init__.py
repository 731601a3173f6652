"""Files of members: CSV in every spelling (`csv`), and where they are fetched from (`download`)."""
