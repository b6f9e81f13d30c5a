// Package browser drives a headless Chromium, for tests of pages: what a page
// complains about, what it asks the network for, how wide it is, and whether its
// text can be read.
//
// # Usage
//
//	b := browsertest.Start(t)                 // skips where there is no Chromium
//	tab, err := b.Open(url, browser.View{Width: 390, Height: 844, Dark: true})
//	err = tab.Wait("document.title == 'ready'")
//	a, err := tab.Audit()
//
// It speaks the Chrome DevTools Protocol over a pair of pipes: a message is a JSON
// object with a zero byte behind it (--remote-debugging-pipe). No port is opened,
// and the browser ends when this process does. Its files are in a directory of its
// own, which Close removes; it resolves no names, so that it reaches nothing but
// this machine.
//
// # Concurrency
//
// The methods of a Browser and its Tabs may be called by any number of
// goroutines. One goroutine reads what the browser says, and ends with Close.
package browser
