/* unzeroed: where the compiler zeroes all automatic variables first (-ftrivial-auto-var-init), it leaves those that are
 * marked: `struct outcome outcome UNZEROED;`. For what is big, is on the path of every RCPT, and is written before it is
 * read. */
#ifndef RCPTGATE_BASE_UNZEROED_H
#define RCPTGATE_BASE_UNZEROED_H

#if defined __has_attribute
#if __has_attribute(uninitialized)
#define UNZEROED __attribute__((uninitialized))
#endif
#endif
#ifndef UNZEROED
#define UNZEROED
#endif

#endif
