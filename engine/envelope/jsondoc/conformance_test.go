package jsondoc_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/sources"
)

func harness(t testing.TB) formattest.Harness {
	t.Helper()
	loud := all255[:64]
	std, url := base64.StdEncoding.EncodeToString(loud), base64.RawURLEncoding.EncodeToString(loud)
	items := func(docs map[string]string) map[string]sources.View {
		views := map[string]sources.View{}
		for name, doc := range docs {
			views[name] = formattest.View("dir/"+name, nil, doc)
		}
		return views
	}
	h := formattest.Harness{
		New: func(t testing.TB, c b64.Choice) envelope.Format {
			fields := []string{"/key", "/tenants/*/key", "/other/*", "/sops/kms/*/enc", "/encryptedKeyset", "/key"}
			b := must[binding.Binding](t)(binding.New([]string{"file={name}"}, "", "{dir}"))
			return must[envelope.Format](t)(jsondoc.New(fields, b, c))
		},
		Items: items(map[string]string{
			"one":                           `{"n":1.50e+10,"key":"` + std + `"}`,
			"tenants":                       "\ufeff" + `{"tenants":{"a":{"key":"` + url + `"},"b":{"key":"YWJj","key":"YWI"},"c":{"key":null}}}` + "\r\n",
			"lines":                         `{"key":"YWJj"}` + "\n" + `{"other":["` + std + `","YWJj"],"key":7}` + "\n\n[]",
			"no style":                      `{"key":"YWJj","other":["YWJj","YWJj"]}`,
			"contradiction":                 `{"other":["YWJj","+A==","-A==","YWI"]}`,
			"contradiction in the alphabet": `{"other":["YWJj","+A==","-A=="]}`,
			"padding open":                  `{"other":["YWJj","////"]}`,
			"alphabet open":                 `{"other":["YWJj","YQ=="]}`,
			"escapes":                       `{"key":"` + strings.NewReplacer("/", `\/`, "+", `\u002b`, "=", `\u003D`).Replace(lines(std, 20, `\n`)) + `"}`,
		}),
		Foreign: items(map[string]string{"nothing there": `{"keys":"YWJj"}`, "null": `{"key":null}`, "empty": ""}),
		Broken:  items(map[string]string{"no JSON": "hello", "cut off": `{"key":"YWJj"`, "two on a line": `{} {}`, "gzip": "\x1f\x8b\x08\x00"}),
		Skipped: items(map[string]string{"long pointer": `{"other":{"` + strings.Repeat("n", 1024) + `":"YWJj"}}`}),
	}
	for _, file := range []string{"sops.json", "tink-keyset.json"} {
		doc := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", file)))
		h.Items[file] = formattest.View(file, nil, string(doc))
	}
	return h
}

// bound has references into the documents.
func bound(t testing.TB) formattest.Harness {
	t.Helper()
	h := harness(t)
	h.New = func(t testing.TB, c b64.Choice) envelope.Format {
		b := must[binding.Binding](t)(binding.New(nil, "context", "{json:/id}-{field:id}"))
		return must[envelope.Format](t)(jsondoc.New([]string{"/key", "/tenants/*/key"}, b, c))
	}
	h.Items = map[string]sources.View{
		"one":     formattest.View("o", nil, `{"key":"YWJj","context":{"a":"b","c":"d"},"id":7}`),
		"tenants": formattest.View("o", nil, `{"tenants":[{"key":"YWJj","id":"a","context":null},{"key":"YW/j","context":{}},{"id":true,"key":"YQ==","context":{"e":"\u00e9"}}],"id":"x"}`),
		"lines":   formattest.View("o", nil, "{\"key\":\"YWJj\",\"context\":{},\"id\":\"1\"}\n{\"key\":\"YWJj\"}\n"),
	}
	h.Skipped = nil
	return h
}

// whole has documents that are one string.
func whole() formattest.Harness {
	return formattest.Harness{
		New: func(t testing.TB, c b64.Choice) envelope.Format {
			return must[envelope.Format](t)(jsondoc.New([]string{""}, binding.Binding{}, c))
		},
		Items: map[string]sources.View{
			"one": formattest.View("o", nil, `"YW\/j"`), "lines": formattest.View("o", nil, "\"YWJj\"\n{}\n\"YWI\"\nnull\n"),
		},
		Foreign: map[string]sources.View{"null": formattest.View("o", nil, "null")},
	}
}

func TestConformance(t *testing.T)      { formattest.Run(t, harness(t)) }
func TestConformanceBound(t *testing.T) { formattest.Run(t, bound(t)) }
func TestConformanceWhole(t *testing.T) { formattest.Run(t, whole()) }
