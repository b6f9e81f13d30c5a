//go:build !linux

package harden

import "errors"

func memoryTrigger() (trigger, error) { return nil, errors.ErrUnsupported }
