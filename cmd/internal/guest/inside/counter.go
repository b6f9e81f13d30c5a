package inside

import (
	"bytes"
	"errors"
)

// counter finds the number behind prefix at the beginning of a line of text.
func counter(text []byte, prefix string) (int64, error) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(prefix))
		if !ok {
			continue
		}
		n, digits := int64(0), 0
		for _, c := range rest {
			if c < '0' || c > '9' {
				break
			}
			n, digits = n*10+int64(c-'0'), digits+1
		}
		if digits == 0 {
			break
		}
		return n, nil
	}
	return 0, errors.New("no such counter: " + prefix)
}
