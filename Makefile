# make demo and make test need Go, git and make, and nothing else.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
VERSITYGW   = github.com/versity/versitygw/cmd/versitygw@v1.8.0
INTEROP     = engine/envelope/interop

BIN   = bin/rewrap
TOOLS = $(CURDIR)/bin/tools

.PHONY: all build demo test bench check fmt vet lint tidy vuln race check-interop clean

all: build

build:
	CGO_ENABLED=0 go build -trimpath -o $(BIN) ./cmd/rewrap

demo: build
	$(BIN) demo

test:
	go test ./...

bench:
	go test -short -run '^$$' -bench . -benchmem ./...

# Everything but the tests against other people's software.
check: build fmt tidy vet lint vuln race demo

fmt:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

tidy:
	go mod tidy -diff
	cd $(INTEROP) && go mod tidy -diff

vet:
	go vet ./...
	GOOS=darwin go vet ./...
	cd $(INTEROP) && go vet ./...

lint:
	go run $(STATICCHECK) ./...

# Only where the database of vulnerabilities cannot be reached is this skipped,
# and says so; findings, and every other failure, fail.
vuln:
	@GOBIN=$(TOOLS) go install $(GOVULNCHECK)
	@out=$$($(TOOLS)/govulncheck ./... 2>&1); code=$$?; \
	case "$$code:$$out" in \
	0:*) echo "govulncheck: no known vulnerability is reached" ;; \
	*"govulncheck: fetching vulnerabilities:"*) echo "SKIPPED govulncheck: its database cannot be reached:"; echo "$$out" | tail -n 1 ;; \
	*) echo "$$out"; exit 1 ;; esac

# What could not run here, and why, stands at the end: go test keeps it to itself.
race:
	@mkdir -p bin
	@{ go test -race -v ./... 2>&1; echo $$? >bin/race.code; } | tee bin/race.log | grep --line-buffered -E '^(ok|FAIL|panic:|[?#]) *'; \
	code=$$(cat bin/race.code); \
	if [ $$code != 0 ]; then grep -vE '^ *(===|--- (PASS|SKIP))|^(ok|[?]) ' bin/race.log; fi; \
	grep -h SKIPPED bin/race.log | sort -u; \
	exit $$code

# The tests against real clients and servers that nobody here wrote. They
# install what they need with go install, at pinned versions.
check-interop: build $(TOOLS)/versitygw
	REWRAP_VERSITYGW=$(TOOLS)/versitygw REWRAP_MUST_RUN=TestConformanceVersitygw go test -race -count=1 ./sources/s3/...
	cd $(INTEROP) && go test -race -count=1 -timeout 30m ./...

$(TOOLS)/versitygw:
	GOBIN=$(TOOLS) go install $(VERSITYGW)

clean:
	rm -rf bin
