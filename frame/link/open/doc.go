// Package open opens the best link that the platform has.
package open
