package main_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/rogpeppe/go-internal/testscript"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
)

// TestScripts runs testdata/script/*.txtar. Each script is a session with rewrap
// against an emulator of its own. All that rewrap printed in it is compared with
// the file "want" at the script's end.
//
// In that file "> " begins a line of standard output, and "! " a line of standard
// error. "+ " goes on with the line before it: JSON objects of one line are shown
// in several. "exit 3" follows where the exit code is not 0. The script itself
// says "rewrap" where the exit code has to be 0, and "! rewrap" where it must not.
//
// After a change of the output, run
//
//	TESTSCRIPT_UPDATE=1 go test ./cmd/rewrap -run TestScripts
//
// to write the new output into the scripts, and read the diff.
//
// Scripts have testscript's commands and those of script_commands_test.go. Values
// that differ from run to run (ids, times, ports, paths) get a fixed spelling,
// by [stage.stable] and nowhere else.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	for _, path := range scripts {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(script, []byte("# ")) || !bytes.Contains(script, []byte("\ncmp said want\n\n-- ")) {
			t.Errorf("%s has to begin with a line that says what it shows, and end with: cmp said want", path)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("TESTSCRIPT_UPDATE") != "",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup:               newStage,
		Cmds:                commands,
	})
}

type stageKey struct{}

// stage is what one script acts on. Requests of the world's own clients are not
// counted and do not meet the hook.
type stage struct {
	*emulatortest.World
	work string
	hook emulatortest.Hook

	mu    sync.Mutex
	rand  *rand.ChaCha8
	calls uint64 // commands of the script so far

	names  map[string]string // what rewrap prints, to what the script calls it
	jobs   int
	sealed []secret
	trees  map[string]map[string]string // as they were remembered
}

// epoch is the time at which every script begins, on the emulator's clock.
var epoch = time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)

// newStage begins a script. Its file "rotation-delay" says how long a rotation
// on demand takes; without that file it takes no time.
func newStage(env *testscript.Env) error {
	s := &stage{work: env.WorkDir, names: make(map[string]string), trees: make(map[string]map[string]string)}
	s.reseed()
	began := time.Now()
	o := emulator.Options{Rand: s, Now: func() time.Time { return epoch.Add(time.Since(began)) }}
	delay := filepath.Join(env.WorkDir, "rotation-delay")
	if text, err := os.ReadFile(delay); err == nil {
		if o.RotationDelay, err = time.ParseDuration(strings.TrimSpace(string(text))); err != nil {
			return err
		}
		_ = os.Remove(delay)
	}
	s.World = emulatortest.New(env.T().(testing.TB), o)
	s.Through(s.Emulator.Backdoor(), s.URL)
	env.Values[stageKey{}] = s
	none := filepath.Join(env.WorkDir, "none")
	env.Vars = append(env.Vars, "REWRAP_TEST_MAIN=1", "AWS_ENDPOINT_URL="+s.URL, "AWS_REGION="+s.Region,
		"AWS_ACCESS_KEY_ID="+emulatortest.ID, "AWS_SECRET_ACCESS_KEY="+emulatortest.Secret,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none,
		"elsewhere="+s.elsewhere()+"/", "nl=\n", "esc=\x1b", "bidi=\u202e")
	return nil
}

// elsewhere is another name of the same endpoint.
func (s *stage) elsewhere() string { return strings.Replace(s.URL, "127.0.0.1", "localhost", 1) }

// reseed begins each command of a script with random numbers of its own, so that
// the emulator makes the same ids in each run. The order of the requests that an
// earlier command made at once has no effect on them.
func (s *stage) reseed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.rand = rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), s.calls)))
}

// Read is the emulator's source of random numbers.
func (s *stage) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.Read(p)
}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// rewrap runs the program and appends its output to the file "said".
func rewrap(ts *testscript.TestScript, neg bool, args []string) {
	s := stageOf(ts)
	s.reseed()
	self, err := os.Executable()
	ts.Check(err)
	err = ts.Exec(self, args...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	out, errs := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	said := marked("> ", out, members) + marked("! ", errs, members)
	if code != 0 {
		said += fmt.Sprintf("exit %d\n", code)
	}
	s.say(ts, "rewrap", args, said)
	if (code != 0) != neg || strings.Contains(errs, "goroutine ") || strings.Contains(errs, "panic:") {
		ts.Fatalf("exit code %d:\n%s", code, said)
	}
}

// say appends a command and its output to the file "said".
func (s *stage) say(ts *testscript.TestScript, command string, args []string, said string) {
	s.learn(ts)
	f, err := os.OpenFile(filepath.Join(s.work, "said"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer f.Close()
	line := "$ " + command
	for _, arg := range args {
		if arg = visible(s.stable(arg)); arg == "" || strings.ContainsAny(arg, " '\"") {
			arg = "'" + arg + "'"
		}
		line += " " + arg
	}
	_, err = f.WriteString(line + "\n" + s.stable(said) + "\n")
	ts.Check(err)
}

// marked puts the mark before each line, and "+ " before the further parts of a
// line that cut has split.
func marked(mark, text string, cut func(line string) []string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, ended := strings.CutSuffix(line, "\n")
		b.WriteString(mark + strings.Join(cut(visible(line)), "\n+ ") + "\n")
		if !ended {
			b.WriteString("\\ no newline at the end\n")
		}
	}
	return b.String()
}

func whole(line string) []string { return []string{line} }

// members splits a JSON object before each of its members, and a list of objects
// before each object.
func members(line string) (parts []string) {
	if !strings.HasPrefix(strings.TrimPrefix(line, "["), `{"`) || !json.Valid([]byte(line)) || len(line) < 100 {
		return whole(line)
	}
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && (depth == 1 || depth == 2 && line[i+1] == '{'):
			parts, from = append(parts, line[from:i+1]), i+1
		}
	}
	return append(parts, line[from:])
}

// visible escapes control characters. ‹ and › tell these escapes from those that
// rewrap printed.
func visible(line string) string {
	var b strings.Builder
	for _, r := range line {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString("‹" + strings.Trim(strconv.QuoteRune(r), "'") + "›")
		}
	}
	return b.String()
}

// varying lists the values that differ from run to run and have no name in the
// script.
var varying = []struct {
	what *regexp.Regexp
	is   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d( UTC)?`), "<time>"},
	{regexp.MustCompile(`\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`), "<time>"},
	{regexp.MustCompile(`("elapsed_seconds": ?)[\d.]+`), "$1<n>"},
	{regexp.MustCompile(`(?m)^(>   time +)[\dms.]+$`), "$1<duration>"},
	// Two workers that meet a new key at the same time both ask KMS about it.
	{regexp.MustCompile(`("kms": ?{[\s>]*"requests": ?)(?:[2-9]|\d\d+)(,[\s>]*"throttled")`), "$1<n>$2"},
	{regexp.MustCompile(`(?m)^(>   kms +)[\d,]+ requests, (.* throttled)$`), "$1<n> requests, $2"},
	// Any of several items can be the example.
	{regexp.MustCompile(`(?m)([\d,]+ items failed or skipped for the reason "[^"]+", for example ).*$`), "$1<one of them>"},
	{regexp.MustCompile(`(failed \([\d,]+ items\), for example |Items would fail, for example )[^:]+`), "$1<one of them>"},
	// The listing runs ahead of the items, by more or less when a run stops.
	{regexp.MustCompile(`("store": ?{[\s>]*"requests": ?)\d+(,[\s>]*"throttled": ?\d+,[\s>]*"bytes_in": ?)\d+(,[\s>]*"bytes_out": ?)\d+`), "$1<n>$2<n>$3<n>"},
	{regexp.MustCompile(`(?m)^(>   store +)[\d,]+ requests, (.* throttled), .* in, .* out$`), "$1<n> requests, $2, <n> in, <n> out"},
	{regexp.MustCompile(`(waiting for the new key material, )\d+s`), "$1<n>s"},
	{regexp.MustCompile(`rewrap \(devel\) go[\d.]+`), "rewrap <version>"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`\(request [0-9A-F]{16}\)`), "(request <id>)"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<sha256>"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "<etag>"},
	{regexp.MustCompile(`\b[0-9a-f]+\.[0-9a-f]+\.[0-9a-f]{16}\.[0-9a-f]{16}\b`), "<revision>"},
	{regexp.MustCompile(`\.new-\d+`), ".new-<n>"},
	{regexp.MustCompile(`"known":\d+`), `"known":<n>`},
	// Not every file system can exchange two files.
	{regexp.MustCompile(`(?m)^(>   way .* by )(exchange|rename)$`), "${1}rename"},
	// The width of this column depends on ids of 9 or 10 digits.
	{regexp.MustCompile(`(?m)^> (ID|<[a-z]+\.\d+>) +`), "> $1  "},
}

var stateName = regexp.MustCompile(`\.rewrap/[a-z0-9.-]*[0-9a-f]{8,}`)

// stable gives a fixed spelling to all values that differ from run to run.
func (s *stage) stable(text string) string {
	text = strings.NewReplacer(s.URL, "http://emulator", s.elsewhere(), "http://emulator-elsewhere", s.work, "$WORK").Replace(text)
	for _, state := range stateName.FindAllString(text, -1) {
		if s.names[state] == "" {
			s.jobs++
			s.names[state] = fmt.Sprintf("job.%d", s.jobs)
		}
	}
	longest := func(a, b string) int { return len(b) - len(a) }
	for _, name := range slices.SortedFunc(maps.Keys(s.names), longest) {
		text = strings.ReplaceAll(text, name, "<"+s.names[name]+">")
	}
	for _, v := range varying {
		text = v.what.ReplaceAllString(text, v.is)
	}
	return text
}

// name gives a value a name, which is also a variable of the script: $a, ${a.1}.
func (s *stage) name(ts *testscript.TestScript, value, name string) {
	if s.names[value] == "" {
		s.names[value] = name
		ts.Setenv(name, value)
	}
}

// learn names the key material and the keyring keys that there are now. The
// materials of key a are a.1, a.2 and so on; the keys of ring.json are ring.1,
// ring.2 and so on.
func (s *stage) learn(ts *testscript.TestScript) {
	for value, name := range maps.Clone(s.names) {
		if strings.Contains(name, ".") || !strings.Contains(value, "-") {
			continue // no key of KMS
		}
		out, err := s.KMS.ListKeyRotations(s.Context(), &kms.ListKeyRotationsInput{KeyId: &value, IncludeKeyMaterial: "ALL_KEY_MATERIAL"})
		if err != nil {
			continue // a kind without materials
		}
		for i, r := range out.Rotations {
			material := fmt.Sprintf("%s.%d", name, i+1)
			s.name(ts, aws.ToString(r.KeyMaterialId), material)
			s.names[aws.ToString(r.KeyMaterialId)[:12]] = material
		}
	}
	err := filepath.WalkDir(s.work, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		data, _ := os.ReadFile(path)
		var ring struct {
			Key        []struct{ KeyID uint32 }
			KeysetInfo struct{ KeyInfo []struct{ KeyID uint32 } }
		}
		if json.Unmarshal(data, &ring) != nil {
			return nil
		}
		name := strings.TrimSuffix(strings.ReplaceAll(filepath.Base(path), "\n", ""), ".json")
		for i, k := range append(ring.Key, ring.KeysetInfo.KeyInfo...) {
			if k.KeyID >= 100_000 { // shorter ones would be found in other words
				s.name(ts, fmt.Sprint(k.KeyID), fmt.Sprintf("%s.%d", name, i+1))
			}
		}
		return nil
	})
	ts.Check(err)
}
