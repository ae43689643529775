package interop

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"rewrap/bench/emulator/emulatortest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// binary builds cmd/rewrap once.
var binary = sync.OnceValues(func() (string, error) {
	out := filepath.Join(scratch, "rewrap")
	build := exec.Command("go", "build", "-o", out, "./cmd/rewrap")
	build.Dir = filepath.Join("..", "..", "..")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building rewrap: %w\n%s", err, text)
	}
	return out, nil
})

var scratch string

// TestMain takes whatever the environment says about AWS away, from the
// clients and from the binary: nothing but the emulator is spoken to.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	none := filepath.Join(dir, "config")
	if err := os.WriteFile(none, nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("AWS_CONFIG_FILE", none)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// objects is how many objects the largest test works on.
func objects(t *testing.T) int {
	t.Helper()
	return size(t, "INTEROP_OBJECTS", 5000)
}

// size is a number from the environment, or what it is otherwise.
func size(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 500 {
		t.Fatalf("%s is %q: a number from 500", name, text)
	}
	return n
}

// seeded is random, and can be repeated by the seed that it logs.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("INTEROP_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("INTEROP_SEED: %v", err)
		}
	}
	t.Logf("INTEROP_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// job is one run of rewrap: a source, flags and a state directory, which is
// the same command however often it has to be started.
type job struct {
	w      *world
	source string
	state  string
	args   []string
}

// newJob is a job over the fleet, newJobOn over another source.
func newJob(t *testing.T, w *world, args ...string) job {
	return newJobOn(t, w, "s3://"+bucket+"/"+prefix, args...)
}

func newJobOn(t *testing.T, w *world, source string, args ...string) job {
	return job{w, source, filepath.Join(t.TempDir(), "state"), args}
}

// rewrap is the binary with its arguments.
func (w *world) rewrap(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+w.URL, "AWS_REGION="+w.Region,
		"AWS_ACCESS_KEY_ID="+emulatortest.ID, "AWS_SECRET_ACCESS_KEY="+emulatortest.Secret)
	return cmd
}

func (j job) command(t *testing.T) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	args := []string{"run", j.source, "--state", j.state, "--yes", "--json", "--progress", "none", "--kms-rps", "max"}
	cmd = j.w.rewrap(t, append(args, j.args...)...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

type summary struct {
	Result  string
	Items   struct{ Seen, Rewrapped, Current, Foreign, Skipped, Gone, Failed int }
	Reasons map[string]int `json:"skipped_by_reason"`
	Keys    struct{ Rewrapped, Current, Deduplicated int }
	Census  []struct {
		Key, Material string
		Keys          int
	}
	Unconditional int
	Resumed       bool
}

// once runs the job to its end, which has to be one of the exit codes.
func (j job) once(t *testing.T, codes ...int) summary {
	t.Helper()
	cmd, stdout, stderr := j.command(t)
	cmd.Run()
	return j.ended(t, cmd, stdout, stderr, codes...)
}

func (j job) ended(t *testing.T, cmd *exec.Cmd, stdout, stderr *bytes.Buffer, codes ...int) summary {
	t.Helper()
	ok := false
	for _, code := range codes {
		ok = ok || cmd.ProcessState.ExitCode() == code
	}
	if !ok {
		t.Fatalf("rewrap ended with %v, want %v\n%s%s", cmd.ProcessState, codes, stdout, stderr)
	}
	var s summary
	if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
		t.Fatalf("the summary: %v\n%s", err, stdout)
	}
	i := s.Items
	if sum := i.Rewrapped + i.Current + i.Foreign + i.Skipped + i.Gone + i.Failed; sum != i.Seen {
		t.Errorf("%d items were seen, the outcomes add up to %d: %+v", i.Seen, sum, i)
	}
	return s
}

// change is the operation with which rewrap changes an object's metadata.
const change = "s3:CopyObject"

// isChange says whether a request changes an object of the fleet, and not the
// canary on which rewrap tries what the store honours.
func isChange(op string, r *http.Request) bool {
	name, ok := strings.CutPrefix(r.URL.Path, "/"+bucket+"/"+prefix)
	return op == change && ok && !strings.HasPrefix(name, ".rewrap-canary-")
}

// killer ends a process at a random change, while its other workers are
// wherever they are.
type killer struct {
	mu     sync.Mutex
	rng    *rand.Rand
	cmd    *exec.Cmd
	copies int // changes that it lets pass; -1: it has struck
	moment int // 0: the request is lost; 1: it is served, its answer lost; 2: just after
}

// arm starts the process with a new fate.
func (k *killer) arm(cmd *exec.Cmd, most int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cmd, k.copies, k.moment = cmd, 1+k.rng.IntN(most), k.rng.IntN(3)
	return cmd.Start()
}

func (k *killer) serve(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
	victim, moment := k.see(op, r)
	if victim == nil {
		next.ServeHTTP(w, r)
		return
	}
	if moment < 2 {
		victim.Kill()
	}
	if moment > 0 {
		next.ServeHTTP(w, r)
	}
	if moment == 2 {
		victim.Kill()
	} else {
		panic(http.ErrAbortHandler) // nothing more goes out on this connection
	}
}

// see returns the process to be killed at this request, nil if none is.
func (k *killer) see(op string, r *http.Request) (victim *os.Process, moment int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cmd == nil || k.copies < 0 || !isChange(op, r) {
		return nil, 0
	}
	k.copies--
	if k.copies >= 0 {
		return nil, 0
	}
	return k.cmd.Process, k.moment
}

// untilDone starts the job again and again, and kills it each time after at
// most so many changes, until it reaches its end.
func (j job) untilDone(t *testing.T, rng *rand.Rand, most int) summary {
	t.Helper()
	k := &killer{rng: rng}
	j.w.Hook(k.serve)
	defer j.w.Hook(nil)
	return j.survive(t, func(cmd *exec.Cmd) error { return k.arm(cmd, most) })
}

// survive starts the job again and again, by somebody who may kill it, until
// it reaches its end.
func (j job) survive(t *testing.T, start func(*exec.Cmd) error) summary {
	t.Helper()
	for kills := 0; ; kills++ {
		cmd, stdout, stderr := j.command(t)
		if err := start(cmd); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if !cmd.ProcessState.Exited() {
			continue
		}
		s := j.ended(t, cmd, stdout, stderr, 0)
		t.Logf("killed %d times", kills)
		if kills == 0 {
			t.Error("never killed: this proves nothing")
		}
		if !s.Resumed {
			t.Error("the summary does not say that the run was resumed")
		}
		return s
	}
}

type auditLine struct {
	ID, Locator string
	KeyFrom     string `json:"key_from"`
	KeyTo       string `json:"key_to"`
	MaterialTo  string `json:"material_to"`
	Before      string `json:"sha256_before"`
	After       string `json:"sha256_after"`
}

func (j job) audit(t *testing.T) map[string][]auditLine {
	t.Helper()
	f, err := os.Open(filepath.Join(j.state, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := map[string][]auditLine{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var line auditLine
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("audit.jsonl: %v in %q", err, s.Text())
		}
		id := strings.TrimPrefix(line.ID, "s3://"+bucket+"/")
		lines[id] = append(lines[id], line)
	}
	return lines
}

// changed holds the objects against what they were: nothing but the wrapped
// key changed, and the audit log has one line for each that did.
func (j job) changed(t *testing.T, before, after map[string]object) int {
	t.Helper()
	audit, changed := j.audit(t), 0
	for key, was := range before {
		is, ok := after[key]
		if !ok {
			t.Errorf("%q is gone", key)
			continue
		}
		if what := was.sameBut(is); what != "" {
			t.Errorf("%q: the %s changed", key, what)
		}
		name, old := was.wrappedKey()
		newName, now := is.wrappedKey()
		if name != newName {
			t.Errorf("%q: the wrapped key is in %s, was in %s", key, newName, name)
		}
		lines := audit[key]
		delete(audit, key)
		if old == now {
			if len(lines) != 0 {
				t.Errorf("%q did not change, and has %d lines in the audit log", key, len(lines))
			}
			continue
		}
		changed++
		if len(lines) != 1 {
			t.Errorf("%q changed, and has %d lines in the audit log", key, len(lines))
			continue
		}
		if l := lines[0]; l.Before != digest(t, old) || l.After != digest(t, now) {
			t.Errorf("%q: the audit log speaks of other wrapped keys", key)
		}
	}
	for key := range audit {
		t.Errorf("the audit log speaks of %q, which is no object here", key)
	}
	return changed
}

func digest(t *testing.T, value string) string {
	t.Helper()
	blob, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		t.Error(err)
	}
	sum := sha256.Sum256(blob)
	return hex.EncodeToString(sum[:])
}
