"""Benchmarks: each script measures casemill against a peer or a floor in the same run. Run them with `make bench`."""
