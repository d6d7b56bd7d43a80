"""Pages, figures and contact sheets made from finished run folders and tables."""
