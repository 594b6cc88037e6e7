"""What devices speak instead of CLASP: each protocol a package of its own, imported only where it is switched on."""
