package keytest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"rewrap/engine/keys/keytest"
)

const inEnvironment = "KEYTEST_DEFECT"

// TestMemory: a rewrapper without a defect passes, or, in the processes that
// TestDefects starts, is shown to the suite with the defect in the environment.
func TestMemory(t *testing.T) {
	defect := os.Getenv(inEnvironment)
	t.Run("local", func(t *testing.T) { keytest.Run(t, world(defect, false)) })
	t.Run("service", func(t *testing.T) { keytest.Run(t, world(defect, true)) })
}

// TestDefects: each defect is found, by the test that is about it.
func TestDefects(t *testing.T) {
	if os.Getenv(inEnvironment) != "" {
		t.Skip("this process is one of the defects")
	}
	for defect, found := range map[string]string{
		"a word of its own":                  "local/Traits",
		"takes all for current":              "local/Moves",
		"wraps another secret":               "local/Moves",
		"loses the binding":                  "local/Moves",
		"names the wrong source":             "local/Moves",
		"names the wrong target":             "local/Moves",
		"moves what is current":              "local/KeepsCurrent",
		"a blob of what is current":          "local/KeepsCurrent",
		"foreign is any error":               "local/Foreign",
		"foreign ends the run":               "local/Foreign",
		"opens what is damaged":              "local/Damaged",
		"damage ends the run":                "local/Damaged",
		"a blob beside an error":             "local/Damaged",
		"misbound is foreign":                "local/Misbound",
		"remembers by the blob alone":        "service/Misbound",
		"a run's error is any error":         "local/RunError",
		"no hint":                            "local/RunError",
		"does not look at the context":       "local/Cancelled",
		"hides the cause":                    "local/Cancelled",
		"remembers what was cancelled":       "local/Cancelled",
		"changes its mind":                   "local/EqualKeys",
		"clears the wrapped key":             "local/InputUnchanged",
		"writes behind the wrapped key":      "local/InputUnchanged",
		"shares its answers":                 "service/AnswerIsTheCallers",
		"cuts blobs without a limit":         "local/AnswerIsTheCallers",
		"keeps the wrapped key's memory":     "local/InputUnchanged",
		"one scratch for all":                "local/Concurrent",
		"counts nothing":                     "service/Calls",
		"counts only what succeeds":          "service/Calls",
		"counts for what was known":          "service/Calls",
		"takes the first blob":               "local/Assumes",
		"tries for long":                     "local/AssumesMuch",
		"fails where each assumes something": "local/AssumesMuch",
	} {
		t.Run(defect, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
			cmd.Env = append(os.Environ(), inEnvironment+"="+defect)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passes a rewrapper whose defect is: %s", defect)
			}
			if !strings.Contains(string(out), "--- FAIL: TestMemory/"+found+" ") {
				t.Errorf("%s does not find it; the suite says:\n%s", found, out)
			}
		})
	}
}
