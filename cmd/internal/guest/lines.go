package guest

import (
	"bufio"
	"io"
	"strings"
)

// maxLine is where a line is cut: a guest that prints no newline must not take
// all memory.
const maxLine = 4096

// lines reads a serial port line by line, without the carriage returns.
type lines struct{ r *bufio.Reader }

func newLines(r io.Reader) *lines { return &lines{bufio.NewReaderSize(r, maxLine)} }

// next is the next line. With an error, it is what there was before it.
func (l *lines) next() (string, error) {
	b, err := l.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		err = nil
	}
	return strings.TrimRight(string(b), "\r\n"), err
}
