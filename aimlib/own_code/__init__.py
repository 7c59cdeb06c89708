"""Own code without packaging: classes of a script, a notebook or a file that a study names.

`sources` reads files and sessions, `reach` finds what a class reaches, `bundle` hashes it by the normal form in
`lexing`, and `modules` turns it into modules, which drivers and workers import. Importing this package imports no torch
and runs no own code.
"""
