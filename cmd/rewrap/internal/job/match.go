package job

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Scope says which items of the source are in the job, by patterns of their names.
type Scope struct{ Include, Exclude []string }

// Match says which names are in scope: those that an --include matches (all,
// if there is none) and no --exclude does. nil: all are.
func (s Scope) Match() (func(name string) bool, error) {
	if len(s.Include)+len(s.Exclude) == 0 {
		return nil, nil
	}
	in, err := globs("--include", s.Include)
	if err != nil {
		return nil, err
	}
	out, err := globs("--exclude", s.Exclude)
	if err != nil {
		return nil, err
	}
	matches := func(res []*regexp.Regexp, name string) bool {
		return slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(name) })
	}
	return func(name string) bool {
		return (len(in) == 0 || matches(in, name)) && !matches(out, name)
	}, nil
}

func globs(flag string, patterns []string) ([]*regexp.Regexp, error) {
	var res []*regexp.Regexp
	for _, p := range patterns {
		re, err := glob(p)
		if err != nil {
			return nil, Usage("%s %q: %v", flag, p, err)
		}
		res = append(res, re)
	}
	return res, nil
}

// glob is the pattern language of the AWS CLI's --exclude: * and ? match any
// character, [abc], [a-z] and [!a] one of a set; everything else is itself.
func glob(p string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '[':
			end := strings.IndexByte(p[i+1:], ']')
			if end < 1 {
				return nil, fmt.Errorf("a [ without a set and a ]")
			}
			set := p[i+1 : i+1+end]
			b.WriteByte('[')
			if set[0] == '!' && len(set) > 1 {
				b.WriteByte('^')
				set = set[1:]
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`, `&`, `\&`).Replace(set))
			b.WriteByte(']')
			i += end + 1
		default:
			j := i + 1
			for j < len(p) && !strings.ContainsRune(`*?[`, rune(p[j])) {
				j++
			}
			b.WriteString(regexp.QuoteMeta(p[i:j]))
			i = j
			continue
		}
		i++
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	var wrong *syntax.Error
	if errors.As(err, &wrong) { // only a set can be wrong still
		return nil, fmt.Errorf("%s %s", wrong.Code, wrong.Expr)
	}
	return re, err
}
