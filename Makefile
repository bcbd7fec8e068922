.PHONY: help setup demo demo-clean test test-all soak-simulation soak-cluster lint format docs man deb bench lock

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup:  ## install what Covey needs (asks first)
	@bin/setup

demo:  ## a real virtual server from nothing, left running (asks before it changes this machine)
	@demo/run

demo-clean:  ## remove all of the demo but packages, which it lists
	@demo/clean

test:  ## install what the tests need and run them, as CI does
	@bin/setup --yes --test
	@bin/run-tests

test-all: test  ## the tests, then 5,000 simulated schedules (resumes in build/simulation.jsonl)
	.venv/bin/python -m tests.simulation --seeds 5000 --resume build/simulation.jsonl

SCHEDULES ?= 20000
soak-simulation:  ## SCHEDULES=20000 simulated schedules (resumes in build/simulation.jsonl)
	.venv/bin/python -m tests.simulation --seeds $(SCHEDULES) --resume build/simulation.jsonl

ROUNDS ?= 100
soak-cluster:  ## ROUNDS=100 faults in a real cluster of namespaces, amid work (resumes in build/soak-cluster.jsonl; half a minute each)
	.venv/bin/python -m tests.soak --rounds $(ROUNDS) --resume build/soak-cluster.jsonl

lint:  ## style, types and the contracts between the floors
	.venv/bin/python -m pytest tests/test_static.py

format:  ## lay the code out
	.venv/bin/ruff check --fix --quiet src tests bench demo docs packaging
	.venv/bin/ruff format --quiet src tests bench demo docs packaging

docs:  ## write the generated references anew
	.venv/bin/python -m docs.generate

man:  ## man pages and shell completion, into build/
	@.venv/bin/python -m docs.man

deb:  ## the Debian packages covey and covey-node, into build/
	@.venv/bin/python packaging/deb/make_deb.py

bench:  ## measure everything that docs/performance.md states
	@for name in jobs reads create snapshot transfer idle guest migrate; do .venv/bin/python -m bench.$$name --json || exit 1; done

lock:  ## lock the newest Python packages that pyproject.toml allows
	uv pip compile --quiet --upgrade pyproject.toml --extra dev --generate-hashes --no-header --no-emit-index-url --no-annotate -o requirements.lock
