package guest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// SysRq makes the guest's kernel carry out one SysRq command, also when nothing
// else in it runs any more: a break on the serial port, then the letter. What it
// prints comes with the lines; while it prints, another break would be lost.
func (c *Control) SysRq(command byte) error {
	err := c.sendBreak()
	if err == nil {
		_, err = c.keys.Write([]byte{command})
	}
	if err != nil {
		return fmt.Errorf("guest: SysRq %c: %w", command, err)
	}
	return nil
}

// qmpTimeout is far more than QEMU takes to answer.
const qmpTimeout = 10 * time.Second

// sendBreak asks QEMU's monitor (docs/interop/qmp-spec) to send a break.
func (c *Control) sendBreak() error {
	conn, err := net.DialTimeout("unix", c.qmpPath, qmpTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(qmpTimeout)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadBytes('\n'); err != nil { // the greeting
		return err
	}
	for _, command := range []string{
		`{"execute":"qmp_capabilities"}`,
		`{"execute":"chardev-send-break","arguments":{"id":"serial"}}`,
	} {
		if _, err := io.WriteString(conn, command+"\n"); err != nil {
			return err
		}
		if err := answer(r); err != nil {
			return err
		}
	}
	return nil
}

// answer reads past events to the answer.
func answer(r *bufio.Reader) error {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return err
		}
		var said struct {
			Return *json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &said); err != nil {
			return fmt.Errorf("QEMU said what is not JSON: %w", err)
		}
		switch {
		case said.Error != nil:
			return fmt.Errorf("QEMU refused: %s", said.Error.Desc)
		case said.Return != nil:
			return nil
		}
	}
}
