package inside

// pageWords is the number of words in a page.
const pageWords = pageBytes / 8

// pageBytes is the size of a page on the machines that the guest runs on.
const pageBytes = 4096

// A word of the pattern depends on the page, its place in the page and how often
// the page was written, so that a page that was swapped with another, torn or
// left old is noticed. No two words repeat: there is nothing to compress.
type pattern uint64

func newPattern(seed uint64, page int, generation uint8) pattern {
	return pattern(mix(seed ^ mix(uint64(page)<<8|uint64(generation))))
}

func (p pattern) word(i int) uint64 { return mix(uint64(p) + uint64(i)*0x9e3779b97f4a7c15) }

// mix is the finalizer of splitmix64: a permutation of the words.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// write fills a page.
func (p pattern) write(page *[pageWords]uint64) {
	for i := range page {
		page[i] = p.word(i)
	}
}

// verify is the place of the first wrong word, or -1.
func (p pattern) verify(page *[pageWords]uint64) int {
	for i, w := range page {
		if w != p.word(i) {
			return i
		}
	}
	return -1
}

// wrongPage is a *WrongPage if the page is not what was written to it last.
func wrongPage(b *[pageWords]uint64, seed uint64, page int, generation uint8) error {
	p := newPattern(seed, page, generation)
	i := p.verify(b)
	if i < 0 {
		return nil
	}
	return &WrongPage{
		Page: page, Word: i, Generation: generation, Got: b[i], Want: p.word(i),
		LooksLikeBefore: generation > 1 && b[i] == newPattern(seed, page, generation-1).word(i),
	}
}
