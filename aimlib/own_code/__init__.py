"""The user's own code without packaging: classes in a script, a notebook or a file that a study names.

`sources` reads files and sessions. `reach` finds the code that a class reaches, and `bundle` hashes this code, using
the normal form in `lexing`. `modules` turns the code into modules that drivers and workers import. Importing this
package does not import torch, and does not run any of the user's own code.
"""
