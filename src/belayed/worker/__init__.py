"""stub"""


class Worker: ...
