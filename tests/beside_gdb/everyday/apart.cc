#include "apart.h"
int shared = 4;
int Apart::made = 3;
int Apart::len() const { return x; }
