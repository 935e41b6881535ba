"""Where albums are kept, and what they lose first."""
