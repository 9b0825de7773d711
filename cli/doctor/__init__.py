"""The checks of `casemill doctor`."""
