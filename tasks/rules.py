"""How this deployment's users ask: keyword rules in English and Chinese.

Names, descriptions and examples speak for the functions already. A rule stands here where people say it in other
words, or where two functions share their words and something must tell them apart.
"""

from dispatcher import KeywordRule

_UNITS = (
    "mm|cm|metre*|meter*|km|kilomet*|inch*|foot|feet|ft|yard*|mile*|mph|kph|km/h|gram*|kg|kilo|kilos|kilogram*|ounce*|oz|pound*|lbs|"
    "litre*|liter*|millilit*|ml|gallon*|cups|acre*|hectare*|celsius|fahrenheit|kelvin|°c|°f|gb|gib|mb|mib|knot*"
)
#: "in kilos", "to °C": asks for a unit wherever it stands.
_INTO_UNITS = tuple(f"{word} {unit}" for word in ("in", "to", "into") for unit in _UNITS.split("|"))
_CHINESE_UNITS = (
    "公里|千米|英里|厘米|毫米|英寸|英尺|公斤|千克|盎司|加仑|公顷|英亩|平方米|摄氏|华氏|毫升|字节|海里|里路|斤|克|亩|磅"
)
_ARITHMETIC = (
    "times|plus|minus|multiplied by|divided by|to the power of|squared|square root of|sqrt|% of|percent of|"
    "乘以|乘|除以|加上|减去|的平方|平方根|次方|百分之"
)
_WORKDAYS = "business day*|working day*|workday*|weekday*|工作日"

_TEXT = (
    KeywordRule(
        function="text.count_words",
        any_of=("word count", "character count", "字数", "多少字", "多少个字", "几个字", "字符数", "多少字符"),
        weight=4,
    ),
    KeywordRule(
        function="text.count_words",
        all_of=(
            "count*|how many|number of|how long|under|below|longer than|at most",
            "word|words|character*|sentence*|letters",
        ),
        none_of=("days", "summar*", "slug", "list*"),
    ),
    KeywordRule(function="text.count_words", all_of=("超过|不到|至少|一共|总共|数一下", "个字|字符")),
    KeywordRule(
        function="text.diff",
        any_of=("diff|what changed|两个版本|差异|改了哪|有什么区别|有什么不同|有何不同|identical",),
        weight=4,
    ),
    KeywordRule(
        function="text.diff",
        all_of=("compar*|difference*|differ|对比|比较", "version*|file*|text*|paragraph*|draft*|文|段|版本|稿"),
    ),
    KeywordRule(
        function="text.slugify",
        any_of=(
            "slug*|permalink*|url friendly|url-friendly|file-name friendly",
            "file name friendly|网址别名|url别名",
        ),
        weight=4,
    ),
    KeywordRule(function="text.slugify", all_of=("标题|题目|headline|title", "网址|链接|url")),
    KeywordRule(
        function="text.change_case",
        any_of=(
            "all caps|uppercase|upper case|lowercase|lower case|title case|sentence case|letter case|capitali*",
            "snake case|snake_case|camelcase|camel case|kebab case",
            "大写|小写|驼峰|下划线命名",
        ),
        weight=4,
    ),
    KeywordRule(
        function="text.extract_contacts",
        all_of=(
            "find|extract|pull|grab|list|collect|get|which|what|all|every|提取|找出|挑出|抽取|有哪些|哪些|所有",
            "email*|e-mail*|phone*|telephone*|url|urls|link|links|website*|contact*|邮箱|电话|手机号|网址|链接|联系方式",
        ),
        none_of=("duplicate*", "dedup*", "slug*", "去重", "重复", "别名", "unique"),
        weight=4,
    ),
)

_LANGUAGE = (
    KeywordRule(
        function="language.keywords",
        any_of=("keyword*", "key term*", "key phrase*", "关键词", "主题词", "关键字", "出现最多的词"),
        weight=4,
    ),
    KeywordRule(
        function="language.keywords", all_of=("tags|topic*|terms", "text|post|article|notes|report|document|most|main")
    ),
    KeywordRule(
        function="language.summarise",
        any_of=("summar*", "tl;dr", "tldr", "gist", "in a nutshell", "总结", "概括", "摘要", "提炼", "概述"),
        none_of=("csv", "column*", "table", "dataset", "表格", "每列", "每一列"),
        weight=4,
    ),
    KeywordRule(
        function="language.summarise",
        all_of=("shorten|condense|main|important|key|boil", "points|minutes|article|text|report|paragraph*"),
        none_of=("keyword*", "term*", "topic*"),
    ),
    KeywordRule(
        function="language.detect",
        all_of=(
            "what|which|detect|identify|recogni*|is this|in",
            "language|french|german|spanish|italian|portuguese|dutch",
        ),
        none_of=("translat*", "learn*", "speak*", "teach*"),
        weight=4,
    ),
    KeywordRule(
        function="language.detect", any_of=("什么语言", "哪国语言", "哪种语言", "语种", "哪国话", "什么语"), weight=4
    ),
    KeywordRule(
        function="language.readability",
        any_of=("readab*|flesch|reading ease|grade level|reading level|可读性|阅读难度|好读吗|易读",),
        weight=4,
    ),
    KeywordRule(
        function="language.readability",
        all_of=("how|rate|score|too", "easy|hard|difficult|complicated", "read|understand"),
    ),
)

_NUMBERS = (
    KeywordRule(
        function="numbers.statistics",
        any_of=(
            "average*|mean of|median|stdev|standard deviation|quartile*|variance|descriptive statistic*|mean,|mean and",
            "平均|中位数|标准差|均值|方差|四分位",
        ),
        none_of=("csv", "column*", "table", "每列", "每一列"),
        weight=4,
    ),
    KeywordRule(function="numbers.convert_units", all_of=("|".join(_INTO_UNITS), "#"), weight=4),
    KeywordRule(
        function="numbers.convert_units",
        all_of=("convert*|how many|how much|how fast|how far|how heavy|what is|what's", _UNITS, "#"),
        none_of=("loan", "mortgage"),
        weight=4,
    ),
    KeywordRule(
        function="numbers.convert_units",
        all_of=("多少|几|换算|转换|等于|折合", _CHINESE_UNITS),
        none_of=("钱", "元", "贷款"),
        weight=4,
    ),
    KeywordRule(
        function="numbers.loan_payment",
        any_of=("mortgage", "loan", "instalment*", "installment*", "贷款", "房贷", "车贷", "月供", "还贷"),
        weight=4,
    ),
    KeywordRule(
        function="numbers.loan_payment",
        all_of=("borrow*|lend*|financ*|interest", "month|monthly|a month|years|percent|%|rate"),
    ),
    KeywordRule(
        function="numbers.evaluate",
        all_of=(
            "what is|what's|how much is|calculate|compute|evaluate|work out|是多少|等于几|等于多少|计算|算",
            _ARITHMETIC,
        ),
        none_of=("prime*", "loan", "mortgage", "business day*", "days", "贷款", "月供", "工作日"),
    ),
    KeywordRule(
        function="numbers.evaluate",
        all_of=("calculate|compute|evaluate|work out|计算", "#"),
        none_of=(
            "hash*|checksum*|digest*|hmac|signature*|deviation|median|mean|average|statistic*|loan|mortgage|prime*|days",
            "平均|标准差|哈希|签名|校验|贷款|月供|天",
        ),
    ),
    KeywordRule(
        function="numbers.evaluate", all_of=("帮我算|算一下|算算|等于|多少", "乘|除|加|减"), none_of=("加仑", "贷款")
    ),
    KeywordRule(
        function="numbers.factorise",
        any_of=("factor", "factors", "factori*", "prime factor*", "分解质因数", "因数分解", "质因数"),
        weight=4,
    ),
    KeywordRule(
        function="numbers.factorise", all_of=("is|or not|whether|check|是不是|是否|是", "prime|质数吗|素数吗|质数|素数")
    ),
    KeywordRule(function="numbers.factorise", all_of=("down|into|decompos*", "primes")),
    KeywordRule(
        function="numbers.primes",
        all_of=(
            "up to|below|under|less than|smaller than|first|以内|以下|之内|小于|不超过",
            "primes|prime numbers|质数|素数",
        ),
        weight=5,
    ),
)

_DATA = (
    KeywordRule(
        function="data.parse_csv",
        all_of=(
            "parse|read|convert|turn|transform|load|解析|转成|转换|转为|读取",
            "csv|spreadsheet|comma separated|semicolon separated|tab separated|tsv|逗号分隔|表格",
        ),
        weight=4,
    ),
    KeywordRule(
        function="data.summarise_csv",
        all_of=(
            "overview|profile|describe|summar*|what's in|what is in|column*|range*|min|统计|概览|概括|每列|每一列|总览",
            "csv|table|dataset|data set|columns|spreadsheet|表格|数据集|每列",
        ),
        none_of=("sort*", "order*", "parse", "rank*", "排序"),
        weight=4,
    ),
    KeywordRule(
        function="data.validate_json",
        all_of=(
            "valid*|check*|lint|syntax|error*|broken|wrong|won't|parse|malformed|合法|检查|校验|语法|错误|正确|写错|有效",
            "json",
        ),
        weight=4,
    ),
    KeywordRule(
        function="data.query_json",
        all_of=(
            "get|value*|look up|lookup|read|extract|field*|element*|pointer|key|取出|读取|的值|提取|字段|查询",
            "json",
        ),
        none_of=("csv",),
        weight=3,
    ),
    KeywordRule(
        function="data.deduplicate",
        any_of=(
            "duplicate*|dedup*|de-dup*|repeated entr*|unique values|unique entr*|去重",
            "重复|only once",
        ),
        weight=4,
    ),
    KeywordRule(
        function="data.sort_records",
        any_of=("sort|sorted|sorting|rank|alphabetical*|排序|升序|降序|从大到小|从小到大|从高到低",),
        weight=4,
    ),
    KeywordRule(
        function="data.sort_records",
        all_of=(
            "order|arrange|rank|排列|按|按照",
            "by|first|earliest|latest|highest|lowest|alphabet*|排列|顺序|降序|升序",
        ),
        none_of=("in order",),
        weight=4,
    ),
)

_SECURITY = (
    KeywordRule(
        function="security.hash_text",
        any_of=(
            "hash|hashes|hashed|sha256|sha-256|sha512|sha-512|sha1|md5|checksum*|哈希",
            "散列|校验码",
        ),
        none_of=("hmac",),
        weight=4,
    ),
    KeywordRule(
        function="security.mask_card",
        all_of=(
            "card|cards|amex|visa|mastercard|银行卡|信用卡|卡号",
            "mask|hide|check*|valid*|digit*|redact|number*|打码|脱敏|隐藏|校验|对不对|有效",
        ),
        weight=4,
    ),
    KeywordRule(
        function="security.mask_card", all_of=("mask|redact|hide|脱敏|打码", "credit card|debit card|card|卡"), weight=4
    ),
    KeywordRule(function="security.sign_text", any_of=("hmac", "签名"), weight=4),
    KeywordRule(
        function="security.sign_text",
        all_of=("sign|signature", "message|text|payload|webhook|body|key|secret|request"),
        none_of=("sign up", "sign in", "sign me"),
        weight=4,
    ),
)

_DATES = (
    KeywordRule(
        function="dates.days_between",
        all_of=(
            "how many|count|number of|days until|difference|多少|几|相差|相隔|间隔|距离",
            "day|days|weeks|天|工作日|日期|多久",
        ),
        none_of=("characters", "几号", "哪天", "哪一天", "after"),
        weight=4,
    ),
    KeywordRule(function="dates.days_between", all_of=("between|until|from", "days|weeks")),
    KeywordRule(
        function="dates.add_business_days",
        all_of=("add|after|before|from|due|when|后|之后|以后|前", _WORKDAYS),
        none_of=("how many", "number of", "count", "between", "多少", "几个工作日"),
        weight=5,
    ),
    KeywordRule(function="dates.timer", any_of=("timer", "countdown", "count down", "计时", "倒计时"), weight=4),
    KeywordRule(function="dates.timer", all_of=("wait*|ping me|alert me|等", "second*|minute*|秒|分钟")),
    KeywordRule(function="dates.remind", any_of=("remind*", "don't let me forget", "提醒"), weight=4),
)

_REST = (
    KeywordRule(
        function="system.check_service",
        all_of=(
            "port|service|server|database|端口|服务",
            "up|running|listening|reach*|open|check|alive|开放|检查|通不通|启动",
        ),
        weight=4,
    ),
    KeywordRule(
        function="dialogue.greet",
        any_of=(
            "hello|hi there|say hi|say hello|greet*|good morning|good evening|你好呀",
            "您好|早上好|晚上好|打个招呼",
        ),
    ),
    KeywordRule(
        function="dialogue.help",
        any_of=(
            "what can you do|your functions|help me|how do you work",
            "what are you able to|你能做什么|你会什么|你都会|有什么功能|有哪些功能|使用帮助|怎么用",
        ),
    ),
    # A follow-up that names nothing new: "shorter, please" after a summary.
    KeywordRule(
        function="language.summarise",
        any_of=("shorter", "even shorter", "more detail", "再短一点", "详细一点"),
        state={"previous_function": "language.summarise"},
    ),
)

keyword_rules = (*_TEXT, *_LANGUAGE, *_NUMBERS, *_DATA, *_SECURITY, *_DATES, *_REST)
