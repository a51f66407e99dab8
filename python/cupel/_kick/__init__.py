"""Grids of methods x levels x seeds x tasks: what `cupel.kick` and `cupel kick` run.

`grid` says what there is to run, `config` reads it from YAML, `folder` is the folder on disk, `runner`
runs, `result` reads what ran. (With an underscore: a module `cupel.kick` would hide the function.)
"""
