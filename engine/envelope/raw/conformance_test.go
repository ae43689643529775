package raw_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/raw"
	"rewrap/sources"
)

func harness() formattest.Harness {
	loud := all255[:64]
	std, url, rawURL := base64.StdEncoding.EncodeToString(loud), base64.URLEncoding.EncodeToString(loud), base64.RawURLEncoding.EncodeToString(loud)
	items := func(bodies map[string]string) map[string]sources.View {
		views := map[string]sources.View{}
		for name, body := range bodies {
			views[name] = formattest.View("dir/"+name, nil, body)
		}
		return views
	}
	return formattest.Harness{
		New: func(t testing.TB, c b64.Choice) envelope.Format {
			b := must[binding.Binding](t)(binding.New([]string{"file={name}", "dir={dir}"}, "", "{base}"))
			return must[envelope.Format](t)(raw.New(b, c))
		},
		Items: items(map[string]string{
			"binary": "\x01\x02\x02\x00\x78" + strings.Repeat("z\xff", 40), "text-like": "größe: 1",
			"std": std, "url": url, "raw-url": rawURL, "newline": std + "\n", "CRLF": " " + url + "\r\n",
			"MIME": lines(std, 20, "\r\n"), "PEM": lines(rawURL, 16, "\n") + "\n", "mark": "\ufeff" + std,
			"nothing shown": "YWJj", "padding shown": "YWI=", "no padding shown": "YWI", "alphabet shown": "/+/+",
			"nothing shown, lines": "YW\nJj",
		}),
		Foreign: items(map[string]string{"empty": "", "space": " \r\n", "large": strings.Repeat("\x01", 8<<10+1), "very large": strings.Repeat("\x01", 12<<10+1)}),
		Broken:  items(map[string]string{"words": "two words", "padding": "QUJDR===", "both alphabets": "+-AA", "lines": "QUJD\nQUJDQUJD"}),
	}
}

func TestConformance(t *testing.T) { formattest.Run(t, harness()) }
