"""The user's own code without packaging: classes in a script, a notebook or a file that a study names.

`sources` reads files and sessions, `reach` finds what a class reaches, `bundle` hashes what was found, using the normal
form in `lexing`, and `modules` turns it into modules that drivers and workers import. Importing this package does not
import torch, and does not run any of the user's own code.
"""
