"""`python -m covey.cli`, which bin/covey starts."""

from covey.cli.main import main

main()
