"""`python -m cli` is `casemill`."""

from cli.main import main

main()
