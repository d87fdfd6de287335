"""What we measure, and how: each folder is one benchmark, with a make target of its name."""
