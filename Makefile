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
	go test -run '^$$' -bench . -benchmem ./...

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

# Exit code 3 is a finding; any other failure means that the database of
# vulnerabilities could not be asked, which is said and is no failure.
vuln:
	@go run $(GOVULNCHECK) ./... > vuln.out 2>&1; code=$$?; \
	if [ $$code -eq 0 ]; then echo "govulncheck: no known vulnerability is reached"; \
	elif grep -q '^Vulnerability #' vuln.out; then cat vuln.out; exit 1; \
	else echo "SKIPPED govulncheck: its database cannot be reached:"; tail -n 1 vuln.out; fi; rm -f vuln.out

race:
	go test -race ./...

# The tests against real clients and servers that nobody here wrote. They
# install what they need with go install, at pinned versions.
check-interop: build $(TOOLS)/versitygw
	REWRAP_VERSITYGW=$(TOOLS)/versitygw REWRAP_MUST_RUN=TestConformanceVersitygw go test -race -count=1 ./sources/s3/...
	cd $(INTEROP) && go test -race -count=1 -timeout 30m ./...

$(TOOLS)/versitygw:
	GOBIN=$(TOOLS) go install $(VERSITYGW)

clean:
	rm -rf bin
