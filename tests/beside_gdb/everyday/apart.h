/* A class that is declared here and defined elsewhere. */
struct Apart {
    int x;
    enum { LOW, HIGH = 9 };
    int len() const;
    int both() { return -x; }
    int both() const { return x; }
    static int made;
};
extern int shared;
