"""The paper's figures and tables of any preset's finished runs, one program each."""
