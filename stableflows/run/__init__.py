"""What a run leaves on disk: its folder, its images, its records, its gallery. See docs/results.md."""
